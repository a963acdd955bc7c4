"""First-party plugins, installed as ``tunproxy_plugins``: each the worked example of a hook."""
