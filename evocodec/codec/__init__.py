"""What a codec is here: the candidate contract, the .evc container, the seed programs."""
