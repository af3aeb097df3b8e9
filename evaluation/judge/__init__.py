"""Is it the JSON that was asked for, and is it right?"""
