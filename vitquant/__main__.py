"""python -m vitquant"""

import sys

from vitquant.cli import main

if __name__ == "__main__":
    sys.exit(main())
