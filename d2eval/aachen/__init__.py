"""Aachen Day-Night: triangulate the database images, register the queries, score or submit."""
