"""Knowledge graphs: ConceptNet and other triples to sentences with argument spans."""
