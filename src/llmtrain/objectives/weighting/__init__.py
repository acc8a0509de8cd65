"""Ways to weigh the terms of the joint loss, one file a method."""
