"""The look-alike of Travis CI."""
