"""Run the command line as ``python -m tunproxy``."""

from tunproxy.cli.main import main

if __name__ == "__main__":
    main()
