"""Dense pose verification: rendering and comparison of views."""
