//! Prompts of the tiny model with the clips they stand for, as `examples/shapes/data.py` draws them.

use super::Clip;

/// A named colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// (220, 40, 40)
    Red,
    /// (40, 180, 70)
    Green,
    /// (50, 90, 230)
    Blue,
    /// (240, 210, 40)
    Yellow,
    /// (150, 60, 200)
    Purple,
    /// (245, 140, 30)
    Orange,
    /// (240, 240, 240)
    White,
    /// (20, 20, 24)
    Black,
}

impl Colour {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Red,
        Self::Green,
        Self::Blue,
        Self::Yellow,
        Self::Purple,
        Self::Orange,
        Self::White,
        Self::Black,
    ];

    /// As a prompt says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Red => "red",
            Self::Green => "green",
            Self::Blue => "blue",
            Self::Yellow => "yellow",
            Self::Purple => "purple",
            Self::Orange => "orange",
            Self::White => "white",
            Self::Black => "black",
        }
    }

    /// Red, green and blue, 0 to 255.
    pub fn rgb(self) -> [f32; 3] {
        match self {
            Self::Red => [220.0, 40.0, 40.0],
            Self::Green => [40.0, 180.0, 70.0],
            Self::Blue => [50.0, 90.0, 230.0],
            Self::Yellow => [240.0, 210.0, 40.0],
            Self::Purple => [150.0, 60.0, 200.0],
            Self::Orange => [245.0, 140.0, 30.0],
            Self::White => [240.0, 240.0, 240.0],
            Self::Black => [20.0, 20.0, 24.0],
        }
    }
}

/// What moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Shape {
    Circle,
    Square,
    Triangle,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Circle, Self::Square, Self::Triangle];

    /// As a prompt says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Circle => "circle",
            Self::Square => "square",
            Self::Triangle => "triangle",
        }
    }

    /// How far a point is outside, where the shape has this radius around (0, 0).
    fn outside(self, x: f32, y: f32, radius: f32) -> f32 {
        match self {
            Self::Circle => x.hypot(y) - radius,
            Self::Square => x.abs().max(y.abs()) - 0.9 * radius,
            Self::Triangle => (y - 0.7 * radius).max(0.894 * x.abs() - 0.447 * (y + 1.1 * radius)),
        }
    }
}

/// How it moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Motion {
    Right,
    Left,
    Up,
    Down,
    Still,
    Grows,
    Shrinks,
}

impl Motion {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Right,
        Self::Left,
        Self::Up,
        Self::Down,
        Self::Still,
        Self::Grows,
        Self::Shrinks,
    ];

    /// As a prompt says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Right => "moves right",
            Self::Left => "moves left",
            Self::Up => "moves up",
            Self::Down => "moves down",
            Self::Still => "stays still",
            Self::Grows => "grows",
            Self::Shrinks => "shrinks",
        }
    }

    /// The way, x to the right and y down.
    fn way(self) -> [f32; 2] {
        match self {
            Self::Right => [1.0, 0.0],
            Self::Left => [-1.0, 0.0],
            Self::Up => [0.0, -1.0],
            Self::Down => [0.0, 1.0],
            Self::Still | Self::Grows | Self::Shrinks => [0.0, 0.0],
        }
    }
}

/// A shape that moves before a background. Lengths are shares of the smaller side, times those of 24 frames.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// The shape's colour.
    pub colour: Colour,
    /// What moves.
    pub shape: Shape,
    /// How it moves.
    pub motion: Motion,
    /// The background's colour, another one.
    pub background: Colour,
    /// The shape's radius, 0.13 to 0.2.
    pub radius: f32,
    /// Way in 24 frames, 0.35 to 0.6.
    pub speed: f32,
    /// Where the middle is in the first frame: x and y, shares of the width and the height.
    pub middle: [f32; 2],
}

impl Scene {
    /// The scene of a seed; it stays the same in all versions.
    pub fn of_seed(seed: u64) -> Self {
        let mut draws = Draws(seed);
        let colour = draws.of(&Colour::ALL);
        let others: Vec<_> = Colour::ALL.into_iter().filter(|c| *c != colour).collect();
        let (background, shape) = (draws.of(&others), draws.of(&Shape::ALL));
        let motion = draws.of(&Motion::ALL);
        let (radius, speed) = (draws.between(0.13, 0.2), draws.between(0.35, 0.6));
        let middle = motion.way().map(|way| match way == 0.0 {
            true => draws.between(0.3, 0.7),
            false => 0.5 - way * speed / 2.0 + draws.between(-0.05, 0.05),
        });
        Self {
            colour,
            shape,
            motion,
            background,
            radius,
            speed,
            middle,
        }
    }

    /// What is asked for.
    pub fn prompt(&self) -> String {
        let (colour, shape) = (self.colour.name(), self.shape.name());
        let (motion, background) = (self.motion.name(), self.background.name());
        format!("a {colour} {shape} {motion} on a {background} background")
    }

    /// The clip that a perfect model would make, without jagged edges.
    pub fn draw(&self, frames: usize, height: usize, width: usize) -> Clip {
        Clip {
            height,
            width,
            frames: (0..frames)
                .map(|frame| self.frame(frame, height, width))
                .collect(),
        }
    }

    fn frame(&self, frame: usize, height: usize, width: usize) -> Vec<u8> {
        let (time, side) = (frame as f32 / 24.0, height.min(width) as f32);
        let [right, down] = self.motion.way().map(|way| way * self.speed * time);
        let middle = [
            self.middle[0] * width as f32 / side + right,
            self.middle[1] * height as f32 / side + down,
        ];
        let radius = match self.motion {
            Motion::Grows => self.radius * (0.6 + 0.9 * time),
            Motion::Shrinks => self.radius * (1.5 - 0.9 * time),
            _ => self.radius,
        };
        let mut rgb = Vec::with_capacity(height * width * 3);
        for row in 0..height {
            let y = (row as f32 + 0.5) / side;
            let shade = 0.9 + 0.1 * (row as f32 + 0.5) / (height as f32 - 0.5);
            for column in 0..width {
                let x = (column as f32 + 0.5) / side;
                let outside = self.shape.outside(x - middle[0], y - middle[1], radius);
                let cover = (0.5 - outside * side).clamp(0.0, 1.0);
                let pairs = self.background.rgb().into_iter().zip(self.colour.rgb());
                rgb.extend(pairs.map(|(b, f)| (b * shade * (1.0 - cover) + f * cover) as u8));
            }
        }
        rgb
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[(self.next() % choices.len() as u64) as usize]
    }

    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * ((self.next() >> 40) as f32 / (1 << 24) as f32)
    }
}
