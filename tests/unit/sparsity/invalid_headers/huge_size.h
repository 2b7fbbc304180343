const uint8_t CONV1[9999999999][2] = {
    { 1, 0 },
  };
