"""Eight hours' work, by count, with everything on: does anything grow?"""
