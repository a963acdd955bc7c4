"""Generations: each configuration that was applied is kept, and can be compared, gone back to, and guarded.

Promises
    What was in force once can be in force again, with the very octets that its files had. What users have
    written is never lost: a file is put back only after what is there instead has been kept, and none is
    ever deleted. Where nothing can be kept, a full disk for example, everything else works, and says so.
    Secrets are shown to nobody unless asked for, and then only to who runs us.

Vocabulary
    generation  a configuration as it was applied: number, time, files, and what became of it
    contents    files by path, with octets, mode and owner
    trial       the time after a configuration was applied in which it may still be taken back
    check       what has to work through the rules: a URL, a port, a name, a command

Theory of operation
    ``contents`` takes files from what was read, or from disk; ``record`` says what is written down of them,
    and ``store`` keeps both in a folder, each octet string once, by its hash (``objects``). ``succession``
    knows which of the kept ones runs and which came before it. ``comparing`` puts differences into words,
    without secrets. ``checks`` runs checks, each in a process of its own (``reach``);
    ``applying`` has a new configuration tried, and the old one put back (``returning``) where a check that
    worked before fails, a worker dies, or nobody confirms (``confirming``). ``undoing`` goes back,
    ``putting_back`` writes files; ``desk`` answers for all of it, and ``handlers`` has the API's part.
    ``book`` is what a supervisor knows of the store, ``keeping`` puts all of it together.
"""
