"""What this machine is: interpreters, libc, GPUs and drivers."""
