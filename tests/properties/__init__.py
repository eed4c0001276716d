"""Laws that hold for whatever hypothesis comes up with."""
