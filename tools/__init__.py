"""Tools that build the documentation and check the packages; they are not part of the library."""
