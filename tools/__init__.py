"""What building the documentation and the packages needs; no part of the library."""
