const uint8_t CONV1[2][2] = {
    { , 0 },
    { 0, 1 },
  };
