import torch

model = torch.nn.Conv2d(3, 4, 3)
