"""Pretrained bases that packages of the Python index carry in formats of their own, converted once and kept."""
