"""The kinds of blocks, a file each, named as csrc/models/ names them."""
