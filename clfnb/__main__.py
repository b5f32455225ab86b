"`python -m clfnb` is the command `clfnb`."

import sys

from clfnb.cli import main

if __name__ == "__main__":
    sys.exit(main())
