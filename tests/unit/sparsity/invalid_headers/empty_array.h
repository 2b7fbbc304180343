const uint8_t CONV1[0][2] = {
  };
