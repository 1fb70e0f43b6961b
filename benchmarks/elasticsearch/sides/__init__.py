"""The sides of the comparison: each a program that delivers a window and tells what that cost."""
