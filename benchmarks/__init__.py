"""Speed, memory and exactness side by side with the reference library: what ``langlift bench`` runs."""
