"""What differs between two releases of a mart, or between a release and the candidate that is to follow it."""
