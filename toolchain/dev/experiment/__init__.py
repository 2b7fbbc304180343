"""What each kind of mask costs in accuracy, measured on Fashion-MNIST."""
