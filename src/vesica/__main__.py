"""``python -m vesica`` is ``vesica``."""

import sys

from vesica.cli.main import main

sys.exit(main())
