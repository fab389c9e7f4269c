"""What the scheduler, the page pool and the prefix cache are worth, measured through the public API."""
