"""What workers may measure."""

from typing import Any

from tunproxy.control.measuring import summed

WORKER: dict[str, Any] = {
    "targets": {"work": 4, "DIRECT": 1},
    "rules": [[-1, "", "DIRECT", 1], [2, "DOMAIN,x,work", "work", 4]],
    "upstreams": {
        "work": {"is_well": True, "failures": 0, "seconds": 0.5},
        "home": {"is_well": True, "failures": 0, "seconds": None},
    },
    "groups": {"auto": "work", "nobody": None},
    "dns": {
        "queries": 7, "hits": 3, "cached": 2, "names": 5, "resolvers": {"9.9.9.9": {"asked": 4, "failed": 1}},
    },
}  # fmt: skip

OTHER: dict[str, Any] = {
    "targets": {"work": 5},
    "rules": [[2, "DOMAIN,x,work", "work", 5]],
    "upstreams": {"work": {"is_well": False, "failures": 3, "seconds": 0.25}},
    "groups": {"auto": "home"},
    "dns": {"queries": 1, "cached": 1, "resolvers": {"9.9.9.9": {"asked": 1, "failed": 0}}},
}

MEASURES = summed([WORKER, OTHER])
