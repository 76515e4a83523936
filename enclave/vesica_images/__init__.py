"""Building, measuring and checking of images: where they are made, no part of what runs in them or of the wheel."""
