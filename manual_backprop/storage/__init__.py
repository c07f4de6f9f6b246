"""Bytes on disk: files that appear whole or not at all, and weights. Imports no other room."""
