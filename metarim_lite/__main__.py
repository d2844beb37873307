"""`metarim COMMAND`, and `python -m metarim_lite COMMAND`. `doctor` also runs where packages are missing."""

import sys


def main() -> None:
    """Run the command line (cli.py)."""
    if sys.argv[1:] == ["doctor"]:
        from .doctor import doctor

        raise SystemExit(not doctor())
    try:
        from .cli import main as command_line
    except (ImportError, OSError) as error:
        raise SystemExit(f"metarim: something that is needed cannot be loaded ({error}); run metarim doctor") from None
    command_line()


if __name__ == "__main__":
    main()
