"""What locks and conditions are made of beside lock.py."""
