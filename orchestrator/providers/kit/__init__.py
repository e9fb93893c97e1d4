"""What every provider would write again."""
