"""What others implement: methods, matchers, maps, trainers; how they are named and found."""
