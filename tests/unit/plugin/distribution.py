"""Something that looks installed."""

from pathlib import Path


def distribution(folder: Path, group: str, **sources: str) -> None:
    """Make folder look like an installed distribution whose entry points are modules of these sources."""
    info = folder / "example-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: example\nVersion: 1.0\n")
    lines = [f"[{group}]"]
    for name, source in sources.items():
        (folder / f"{group}_{name}.py").write_text(source)
        lines.append(f"{name} = {group}_{name}")
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
