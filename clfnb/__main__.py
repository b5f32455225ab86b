"`python -m clfnb` is the command `clfnb`. An interrupt while it loads ends it without a traceback."

import sys


def main() -> int:  # the exit code
    "Load the command and call it."
    try:
        from clfnb.cli import main as command
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        return 130
    return command()


if __name__ == "__main__":
    sys.exit(main())
