"""Whole models, beside their peers."""
