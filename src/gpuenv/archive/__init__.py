"""Reading and writing archives safely, and putting what they hold in place only when it is whole."""
