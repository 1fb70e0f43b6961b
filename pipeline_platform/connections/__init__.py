"""How each system is reached: sessions, time limits, and what its errors mean."""
