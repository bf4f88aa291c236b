"""The text that the tiny tokenizers are trained on: descriptions of music, lyrics and prompts."""

CORPUS = """\
# Instruction
Generate audio semantic tokens based on the given conditions:
Understand the given musical conditions and describe the audio semantics accordingly:
Expand the user's input into a more detailed and specific musical description:
Format the user's input into a more detailed and specific musical description:
Fill the audio semantic mask based on the given conditions:
Repaint the mask area based on the given conditions:
# Caption
An upbeat pop song with bright synthesizers, punchy drums and a catchy female vocal in the chorus.
A calm piano melody with soft strings, warm pads and a wide hall; slow, gentle and melancholic.
An energetic rock anthem driven by distorted electric guitars, live drums and a soaring male voice.
A lofi hip hop beat to study to, with a dusty vinyl crackle, mellow electric piano and a lazy bass line.
Dark techno with a rolling kick, acid bass, metallic percussion and long evolving textures.
An acoustic folk ballad with fingerpicked guitar, harmonica and close vocal harmonies.
Orchestral film music: heroic brass, fast string ostinatos, thundering timpani and a choir.
A smooth jazz trio with brushed drums, upright bass and an expressive saxophone solo.
Latin pop and reggaeton rhythm, flamenco guitar, warm percussion, romantic and danceable.
Ambient drone music with field recordings, slow swells and deep reverberation.
Funky disco with slap bass, rhythm guitar, handclaps, horns and a joyful groove.
Country song with banjo, fiddle, pedal steel guitar and storytelling lyrics.
Heavy metal with palm muted riffs, double bass drums, shouted vocals and a fast guitar solo.
Instrumental music without vocals, cinematic, emotional, epic, dreamy, nostalgic, relaxing.
Genre, mood, tempo, instruments, voice, production, verse, chorus, bridge, intro, outro, hook, drop, build.
# Lyric
[Verse 1]
Walking down the empty street tonight, the city lights are burning bright
I hear your voice inside the wind, I wonder where the days have been
[Pre-Chorus]
And every time I close my eyes, I see the colours of the sky
[Chorus]
We are the dreamers in the rain, we are the ones who feel the pain
Hold on to me and never let go, there is a place that only we know
Oh oh oh, la la la, yeah yeah, hey hey, na na na
[Verse 2]
The morning comes with golden light, the shadows leave without a fight
I take your hand, we start to run, together we will find the sun
[Bridge]
Nothing can stop us now, we will find a way somehow
[Guitar Solo]
[Outro]
Goodnight my love, the song is over, the stars will shine forever
[Instrumental]
[Intro]
# Languages
en
# Metas
- bpm: 120
- timesignature: 4
- keyscale: C major
- duration: 30 seconds
bpm: 90
caption: A calm piano melody.
duration: 123
genres: Pop Rock
keyscale: F# minor
language: unknown
timesignature: 3
bpm: 128
duration: 240
keyscale: Bb major
language: en
timesignature: 6
instrumental: true
instrumental: false
NO USER INPUT
"""
