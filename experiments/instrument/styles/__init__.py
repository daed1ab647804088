"""Right ports in other styles: random small networks, written twice as a person would, and one planted defect."""
