"""What tests share: a loopback index, and makers of wheels."""
