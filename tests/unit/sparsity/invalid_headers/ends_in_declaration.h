const uint8_t CONV1[1][2] = {
    { 1, 0 }, };
const uint8_t CON