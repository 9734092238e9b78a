"""Large arguments and results, which travel once to each host."""
