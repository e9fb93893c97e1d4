"""How fast, how many, when: the arithmetic of limits. Time is passed in."""
