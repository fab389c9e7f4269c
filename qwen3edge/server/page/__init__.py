"""The page for people: its files lie in files/, and run in the browser alone."""
