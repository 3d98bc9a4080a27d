"""The hub: the live page on which learning can be seen, poked, rewound and forked."""
