"""Real processes without the seconds that importing torch and transformers takes."""
