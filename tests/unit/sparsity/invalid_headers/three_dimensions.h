const uint8_t CONV1[1][2][2] = {
  {
    { 1, 0 },
    { 0, 1 },
  },
  };
