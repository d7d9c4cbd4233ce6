"""The command line of zhclip: it parses, prints and exits; the packages below do the work."""
