"""What doctor_cases.py tries the doctor on: small files, and plugins that are broken in one way each."""
