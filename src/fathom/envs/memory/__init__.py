"""Native environments that cannot be solved by what is seen at the moment: something must be remembered."""
