"""Texts to train a language model on. Imports no other room."""
